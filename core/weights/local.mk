noinst_LTLIBRARIES += core/weights/libweights.la
core_weights_libweights_la_SOURCES = core/weights/weights.c core/weights/weights.h
