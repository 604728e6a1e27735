"""Real calls to an endpoint, each judged: may this be sold?"""
