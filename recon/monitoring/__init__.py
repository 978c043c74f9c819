"""A watch on results, one after another: charts of what their audits say, and tests of windows of them."""
