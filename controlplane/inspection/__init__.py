"""What an Envoy runs beside what it should run. Read from bytes and from Envoy's own pages.

Pure functions over values: who fetches a page or starts a process is above (`cli`). Nothing of
this is imported while serving: it reads with the complete definitions of Envoy's API, which are
large. Secrets do not come here: Weir withholds them, and Envoy redacts its own pages.
"""
