"""Methods side by side: on a fully sampled scan, on held-out kspace, and in the demonstration."""
