noinst_LTLIBRARIES += core/engine/libengine.la
core_engine_libengine_la_SOURCES =
