"""nginx in front of the daemon: it carries requests for models that are ready."""
