"""The colours of pictures and pages."""

# Okabe & Ito (2008): told apart with every common kind of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
"""For the first five of a picture; everyone else is grey."""
GREY, INK, FAINT, PALE = "#B4B4B4", "#333333", "#777777", "#EEEEEE"
"""Those who are not looked at; text and axes; remarks; grids."""
ON_DARK = ("#56B4E9", *COLOURS[1:])
"""The same before a dark ground, on which the first would be hard to see: their sky blue."""
