"""Methods whose training data is built before the first step: SFT, DPO, MAPO, LIDR, MPO."""
