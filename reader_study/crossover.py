"""Orders of three and more arms over the sessions: Williams designs, balanced for place and for what came before.

E. J. Williams, Australian Journal of Scientific Research A 2 (1949) 149: with an even number of arms one Latin square,
with an odd one a square and its mirror image. Every arm stands in every place equally often, and every arm follows
every other one equally often.
"""


def williams(arms: int) -> tuple[tuple[int, ...], ...]:
    """The rows of the design: orders of the arms 0, 1 ... (``arms`` rows where that is even, else twice as many)."""
    first = [0]
    for step in range(1, arms):
        first.append((arms - step // 2) % arms if step % 2 == 0 else (step + 1) // 2)
    square = [tuple((arm + shift) % arms for arm in first) for shift in range(arms)]
    return (*square, *(row[::-1] for row in square)) if arms % 2 else tuple(square)


def starts(arms: int, sessions: int) -> int:
    """How many different sets of sessions the cases are dealt to: one where each arm has its session."""
    return sessions if sessions > arms else 1


def sittings(position: int, arms: int, sessions: int) -> tuple[int, ...]:
    """The sessions, from 0 and in their order, in which a case at ``position`` of the deal is seen, one for each arm.

    With one session all arms share it; with as many as arms or more no two do, and they lie far apart.
    """
    if sessions == 1:
        return (0,) * arms
    start = position % starts(arms, sessions)
    return tuple(sorted((start + place * (sessions // arms)) % sessions for place in range(arms)))
