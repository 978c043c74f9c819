"""Fine-tuning a prior on a small cohort. One idea a module; ``run.finetune`` ties them together."""
