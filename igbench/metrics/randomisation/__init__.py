"""Randomisation: does the map change with the weights, or with the class?"""
