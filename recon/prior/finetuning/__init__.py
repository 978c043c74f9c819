"""Fine-tuning a prior on a small cohort: search, judging, choice, final run. One idea a module; ``run.finetune`` ties them."""
