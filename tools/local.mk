TESTS += tools/lint
EXTRA_DIST += \
	tools/check-headers \
	tools/check-ops \
	tools/check-rooms \
	tools/check-size \
	tools/check-style \
	tools/check-symbols \
	tools/check-tour \
	tools/lint \
	tools/quickstart \
	tools/rooms.def \
	tests/installed/embed.c \
	tests/installed/run

# The suite on an emulated processor; no part of a build or a test.
EXTRA_DIST += \
	tools/emulate/README.md \
	tools/emulate/bochs-amx.patch \
	tools/emulate/init \
	tools/emulate/run

# How the bundled model is made; no part of a build or a test.
EXTRA_DIST += \
	tools/pilot/README.md \
	tools/pilot/chat.py \
	tools/pilot/check_hf.py \
	tools/pilot/config.py \
	tools/pilot/corpus.py \
	tools/pilot/data.py \
	tools/pilot/evaluate.py \
	tools/pilot/export.py \
	tools/pilot/model.py \
	tools/pilot/numerics.py \
	tools/pilot/optim.py \
	tools/pilot/prepare.py \
	tools/pilot/reference.py \
	tools/pilot/sources.txt \
	tools/pilot/tokenizer.py \
	tools/pilot/train.py \
	tools/pilot/words.py
