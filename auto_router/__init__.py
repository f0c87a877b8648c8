"""Auto-Router: what the four stage scripts are made of.

Imports run one way: ``errors, files, records, images, pool`` <- ``collect, encode, learn, decide`` <- ``assess,
artifacts`` <- ``router``. The stage scripts beside this package import it; it never imports them.
"""

__version__ = "0.1.0"
