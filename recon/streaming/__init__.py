"""The MRD streaming server: acquisitions come from a scanner's port, images go back while the scan is measured."""
