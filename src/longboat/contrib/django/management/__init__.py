"""What Django's command line gets."""
