# libfarmsync is made of convenience libraries, one an area, so that the module links only what a
# request process may use (base, image, control) and never libcurl, MySQL or libevent.
include lib/base/local.mk
include lib/image/local.mk
include lib/control/local.mk
include lib/backplane/local.mk
include lib/avail/local.mk
include lib/session/local.mk
include lib/route/local.mk
include lib/reuse/local.mk
include lib/net/local.mk
include lib/sync/local.mk
