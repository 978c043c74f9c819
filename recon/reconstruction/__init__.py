"""From a scan to an image: the table of methods, the pipeline, the audit and the export."""
