"""Faithfulness: does the map agree with what removing features does?"""
