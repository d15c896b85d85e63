#!/usr/bin/env python3
"""The 256 short English nouns from which passkey keys such as `amber-falcon` are made."""
import argparse

WORDS = """
acorn amber anchor ankle apple apron arrow aspen atlas autumn badge badger baker banjo barley barn
basil basin basket beach beacon beaver berry birch bison blade blanket bloom boat bonnet boot bottle
bowl branch brass bread breeze brick bridge brook broom bucket buffalo butter button cabin cactus camel
canal candle canoe canyon carrot castle cedar cellar chalk cherry chess chest cider cinder circus citrus
clay cliff clock cloud clover coal cobalt comet copper coral cotton cradle crane crater creek cricket
crow crown crystal daisy dawn deer desert dolphin donkey dove dragon drum dune eagle easel ebony
elbow elm ember engine falcon feather fern ferry fiddle field fig finch flag flame flint flute
fog forest fossil fountain fox frost garden garlic ginger glacier glove goat gold goose granite grape
gravel grove gull hammer harbor harp hawk hazel helmet heron hill honey hoof horse igloo iris
island ivory ivy jacket jade jaguar jasmine jewel jungle kayak kettle kite kitten ladder lagoon lake
lamp lantern lark lava lemon lentil lily lime lion lizard llama lobster lotus lynx magnet mango
maple marble meadow melon mint mirror moon moose mosaic moss mountain mule nectar needle nest oak
oasis oat ocean olive onion onyx orange orchard orchid otter owl oyster paddle palm panda panther
paper parrot peach pearl pebble pelican pepper piano pigeon pillow pine plum pond poppy prairie pumpkin
quail quartz quilt rabbit radish raven reef ribbon river robin rocket rose saddle sail salmon sand
sparrow spruce squirrel stone swan thistle thunder tiger timber topaz trout tulip tundra turtle velvet violet
""".split()[:256]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="file to write, one word a line")
    args = parser.parse_args()
    assert len(WORDS) == 256 and len(set(WORDS)) == 256, len(WORDS)
    with open(args.out, "w") as file:
        file.write("\n".join(WORDS) + "\n")


if __name__ == "__main__":
    main()
