"""Foundation-model encoders behind one interface; drift; probes."""
