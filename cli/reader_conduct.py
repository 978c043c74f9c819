"""``recon reader-study status``, ``deviation``, ``call-in`` ...: what a coordinator does between export and key."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.flags import AsJson, Columns, ExpectHead, Sheets
from cli.output import emit


def register(study: typer.Typer) -> None:
    """Add the commands to the ``reader-study`` group."""
    study.command("status")(status)
    study.command("deviation")(deviation)
    study.command("call-in")(call_in)
    study.command("add-reader")(add_reader)
    study.command("adjudicate")(adjudicate)
    study.command("redcap-dictionary")(redcap_dictionary)


def status(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study folder.")],
    sheets: Sheets = None,
    columns: Columns = None,
    expect_head: ExpectHead = None,
    as_json: AsJson = False,
) -> None:
    """Who returned what, what is missing, and what comes next. Logs nothing and tells nothing about the arms."""
    from reader_study.status import study_status
    from reader_study.study import open_study
    from reader_study.tables import load_column_map

    opened = open_study(study, expect_head)
    found = study_status(opened, sheets, load_column_map(columns))
    rows = [{**asdict(sitting), "state": sitting.state} for sitting in found.sittings]
    result = {
        "output": str(study),
        "phase": found.phase,
        "sittings": rows,
        "deviations": list(found.deviations),
        "reserves": list(found.reserves),
        "problem": found.problem,
        "next": list(found.following),
        "log_head": opened.head,
    }
    lines = [f"{opened.protocol.title}: {found.phase}"]
    for sitting in found.sittings:
        read = f", read {sitting.begun[:16].replace('T', ' ')} UTC" if sitting.begun else ""
        logged = ", not logged yet" if sitting.returned and not sitting.logged else ""
        lines.append(f"  reader {sitting.reader}, session {sitting.session}: {sitting.state}{read}{logged}")
    lines += [f"  deviation: {text}" for text in found.deviations]
    lines += [f"  reserve: reader {name}, not called in" for name in found.reserves]
    lines += [f"next: {step}" for step in found.following]
    emit(result, lines, as_json)


def deviation(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study folder.")],
    text: Annotated[str, typer.Argument(metavar="WORDS", help="What happened.")],
    kind: Annotated[
        str,
        typer.Option(
            metavar="[missing|unsigned|exchanged|other]",
            help="What it excuses: missing readings, scores without a signature, a sheet other than the one received, "
            "or nothing.",
        ),
    ],
    reader: Annotated[
        str | None, typer.Option(metavar="READER", help="Whose; needed unless the kind is other.")
    ] = None,
    session: Annotated[
        int | None, typer.Option(metavar="N", help="Which session. Default: all of the reader's.")
    ] = None,
    presentation: Annotated[
        str | None, typer.Option(metavar="PRESENTATION", help="Which presentation, by its identifier.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Log a deviation from the protocol. It excuses what its kind and scope say, and stands in the report."""
    from reader_study.deviations import log_deviation

    entry = log_deviation(study, kind, text, reader, session, presentation)
    result = {"output": str(study), **entry.details, "log_head": entry.hash}
    emit(result, [f"deviation logged; last line of the log {entry.hash}"], as_json)


def call_in(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study folder.")],
    reader: Annotated[str, typer.Argument(metavar="READER", help="A reader whom the protocol marks 'reserve: true'.")],
    text: Annotated[str, typer.Argument(metavar="REASON", help="Why.")],
    as_json: AsJson = False,
) -> None:
    """Let a reserve reader read, before the key is opened; it stands in the report."""
    from reader_study.reserve import call_in as log_call
    from reader_study.study import open_study

    entry = log_call(study, reader, text)
    folders = [str(study / package.folder) for package in open_study(study).packages if package.reader == reader]
    result = {"output": str(study), "reader": reader, "packages": folders, "log_head": entry.hash}
    lines = [f"reader {reader} reads now; hand out:", *(f"  {folder}" for folder in folders)]
    emit(result, [*lines, f"last line of the log {entry.hash}"], as_json)


def add_reader(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study folder.")],
    reader: Annotated[str, typer.Argument(metavar="READER", help="A new pseudonym.")],
    text: Annotated[str, typer.Argument(metavar="REASON", help="Why.")],
    in_place_of: Annotated[
        str, typer.Option(metavar="READER", help="The reader whose cases, sessions and orders are taken over.")
    ],
    experience: Annotated[str, typer.Option(metavar="TEXT", help="For the report, as in the protocol.")],
    as_json: AsJson = False,
) -> None:
    """Add a reader after the export, before the key is opened; a deviation, which stands in the report.

    The packages are copied from those of the other reader, under new names and signing keys; no passphrase is needed,
    for nothing tells an arm. Where the other reader does not read on, log that too ('deviation --kind missing').
    """
    from reader_study.added_reader import add_reader as log_reader
    from reader_study.study import open_study

    entry = log_reader(study, reader, experience, in_place_of, text)
    folders = [str(study / package.folder) for package in open_study(study).packages if package.reader == reader]
    result = {"output": str(study), "reader": reader, "in_place_of": in_place_of, "packages": folders}
    lines = [f"reader {reader} reads what {in_place_of} was to read; hand out:", *(f"  {folder}" for folder in folders)]
    emit({**result, "log_head": entry.hash}, [*lines, f"last line of the log {entry.hash}"], as_json)


def adjudicate(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study folder.")],
    sheets: Sheets = None,
    columns: Columns = None,
    expect_head: ExpectHead = None,
    as_json: AsJson = False,
) -> None:
    """Hand the images on which the readers disagree, by the protocol's rule, blinded to a third reader.

    The key stays sealed. The third reader's sheet comes back with the others; then the key can be opened, and the
    analysis takes the adjudicated scores.
    """
    from reader_study.adjudication import adjudicate as hand_out
    from reader_study.scores import collect
    from reader_study.study import open_study
    from reader_study.tables import load_column_map

    opened = open_study(study, expect_head)
    entry = hand_out(opened, collect(opened, sheets, load_column_map(columns)).sheets)
    count, compared = len(entry.said.shows), entry.said.compared
    folders = [str(study / package.folder) for package in entry.said.packages]
    result = {"output": str(study), "reader": entry.said.reader, "disagreements": count, "compared": compared}
    lines = [f"readers disagree on {count} of {compared} images", *(f"  hand out {folder}" for folder in folders)]
    result |= {"packages": folders, "log_head": entry.hash}
    emit(result, [*lines, f"last line of the log {entry.hash}"], as_json)


def redcap_dictionary(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Study folder, or a protocol (YAML).")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The data dictionary, a CSV file.")],
    as_json: AsJson = False,
) -> None:
    """Write the study's form as a REDCap data dictionary: one record a presentation, no arm and no case.

    The export of that project comes back with --sheets; as nothing in it is signed, it needs a deviation of kind
    unsigned.
    """
    from reader_study.protocol import load_protocol
    from reader_study.redcap import data_dictionary
    from reader_study.study import open_study
    from recon.atomic import atomic_path
    from recon.errors import ReconError

    if out.exists():
        raise ReconError(f"{out}: exists already; choose another name")
    if study.is_dir():
        opened = open_study(study)
        names = [*opened.readers, *(package.reader for package in opened.packages)]
        protocol = opened.protocol
        text = data_dictionary(protocol, names)
    else:
        protocol = load_protocol(study)
        text = data_dictionary(protocol)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    fields = text.count("\n") - 1
    lines = [f"{out}: REDCap data dictionary, {fields} fields"]
    if protocol.localisation is not None:
        lines.append(f"marks of lesions are typed into '{protocol.localisation.item}' as the PACS shows them")
    emit({"output": str(out), "fields": fields}, lines, as_json)
