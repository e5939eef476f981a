EXTRA_DIST += scripts/farm scripts/test scripts/bench scripts/packages.txt doc/install.md \
	scripts/farmlib/htdocs/index.html scripts/farmlib/htdocs/shop.shtml \
	scripts/farmlib/__init__.py \
	scripts/farmlib/bench.py \
	scripts/farmlib/catalogue.py \
	scripts/farmlib/cli.py \
	scripts/farmlib/clock.py \
	scripts/farmlib/database.py \
	scripts/farmlib/dataserver.py \
	scripts/farmlib/demo.py \
	scripts/farmlib/errors.py \
	scripts/farmlib/farm.py \
	scripts/farmlib/httpd.py \
	scripts/farmlib/mariadb.py \
	scripts/farmlib/part.py \
	scripts/farmlib/paths.py \
	scripts/farmlib/ports.py \
	scripts/farmlib/prober.py \
	scripts/farmlib/proc.py \
	scripts/farmlib/progress.py \
	scripts/farmlib/setup.py \
	scripts/farmlib/testing.py \
	scripts/farmlib/user.py
