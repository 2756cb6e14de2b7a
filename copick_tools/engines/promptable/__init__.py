"""What SAM, SAM2 and SAM3's tracker have in common: images, prompts, answers, and how they are fine-tuned. transformers has the
networks.
"""
