noinst_LTLIBRARIES += core/topology/libtopology.la
core_topology_libtopology_la_SOURCES = \
	core/topology/bandwidth.c \
	core/topology/topology.c core/topology/topology.h
core_topology_libtopology_la_CFLAGS = $(AM_CFLAGS) $(HWLOC_CFLAGS)
core_topology_libtopology_la_LIBADD = $(HWLOC_LIBS)
