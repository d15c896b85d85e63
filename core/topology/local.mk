noinst_LTLIBRARIES += core/topology/libtopology.la
core_topology_libtopology_la_SOURCES =
