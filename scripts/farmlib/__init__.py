# SPDX-License-Identifier: Apache-2.0
"""A whole farm on one machine: what scripts/farm, scripts/test, scripts/bench and tests/farm share.

Only the standard library is used, so that a fresh machine needs nothing but Python 3 to begin with.
"""
