# The bundled model, as it is; the program finds it there when model.path is unset.
pilotdir = $(pkgdatadir)/models/pilot
dist_pilot_DATA = \
	models/pilot/README.md \
	models/pilot/config.json \
	models/pilot/generation_config.json \
	models/pilot/heldout.txt \
	models/pilot/model-00001-of-00002.safetensors \
	models/pilot/model-00002-of-00002.safetensors \
	models/pilot/model.safetensors.index.json \
	models/pilot/passkey-words.txt \
	models/pilot/tokenizer.json \
	models/pilot/tokenizer_config.json
pilotencodingdir = $(pilotdir)/encoding
dist_pilotencoding_DATA = models/pilot/encoding/encoding_pilot.json
