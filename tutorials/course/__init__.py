"""What the pages of the course have in common: how code, tables and exercises are shown. No mathematics is here."""

from course.page import beside, exercise, row, source, table

__all__ = ["beside", "exercise", "row", "source", "table"]
