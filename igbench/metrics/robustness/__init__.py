"""Robustness: does the map stay when the input or the baseline moves a little?"""
