noinst_LTLIBRARIES += core/graph/libgraph.la
core_graph_libgraph_la_SOURCES =
