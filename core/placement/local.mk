noinst_LTLIBRARIES += core/placement/libplacement.la
core_placement_libplacement_la_SOURCES =
