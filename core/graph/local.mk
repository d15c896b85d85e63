noinst_LTLIBRARIES += core/graph/libgraph.la
core_graph_libgraph_la_SOURCES = \
	core/graph/attn.c \
	core/graph/compressor.c \
	core/graph/graph.h core/graph/graph_internal.h \
	core/graph/head.c \
	core/graph/indexer.c \
	core/graph/layer.c \
	core/graph/list.c \
	core/graph/mhc.c \
	core/graph/moe.c \
	core/graph/step.c
