noinst_LTLIBRARIES += core/model/libmodel.la
core_model_libmodel_la_SOURCES =
