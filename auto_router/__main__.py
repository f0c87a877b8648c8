"""``python -m auto_router`` is ``auto-router``."""

from auto_router.cli import main_and_exit

if __name__ == "__main__":
    main_and_exit()
