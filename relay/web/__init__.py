"""The HTTP side: whether the relay lives, whether it takes mail, its metrics, its status.

It only shows. It knows the relay by ``observed.Observed``, and neither mail, SQL nor SMTP.
"""
