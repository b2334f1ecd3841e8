"""What every HTTP front of ours needs, and nothing that one of them alone knows.

``listener`` runs an ASGI application on a thread of its own, ``gate`` keeps web pages out, ``body`` reads a request
body within a limit. The receivers (``ingest``) and the fronts (``server``) are ignorant of each other; they meet here.
"""
