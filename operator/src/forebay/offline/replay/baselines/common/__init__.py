"""What several baselines share: signals, the rules of the HPA, and how roles and variants are filled."""
