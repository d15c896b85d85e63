# What backends on this machine's memory share.  Each module links it once beside its backend's library.
# What every backend checks is a library of its own, for those whose memory is elsewhere.
noinst_LTLIBRARIES += backends/host/libcheck.la backends/host/libhost.la
backends_host_libcheck_la_SOURCES = \
	backends/host/check.c \
	backends/host/check.h \
	backends/host/matrix.c \
	backends/host/matrix.h
backends_host_libhost_la_SOURCES = \
	backends/host/call.c \
	backends/host/device.c \
	backends/host/host.h \
	backends/host/weight.c
backends_host_libhost_la_LIBADD = backends/host/libcheck.la
