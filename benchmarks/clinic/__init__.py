"""Runs that are ill in a known way, and healthy ones: does the doctor tell which, and do its remedies cure?"""
