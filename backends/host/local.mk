# What backends on this machine's memory share.  Each module links it once beside its backend's library.
noinst_LTLIBRARIES += backends/host/libhost.la
backends_host_libhost_la_SOURCES = \
	backends/host/call.c \
	backends/host/device.c \
	backends/host/host.h \
	backends/host/matrix.c \
	backends/host/weight.c
