"""From rules to code: `source` makes one text of rule and driver, and each backend has a file that frames it."""
