/* utf8.h - where a character of UTF-8 ends.  Header only; knows nothing of tokenizers. */
#ifndef CORE_MODEL_UTF8_H
#define CORE_MODEL_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Bytes of the character at bytes (1 to 4).  0: the text ends inside what may still become a character.  -k: the first
 * k bytes can never be part of one (k is the longest start of a character that was cut short, or 1; Unicode's
 * "substitution of maximal subparts"). */
static inline int
utf8_scan(const unsigned char *bytes, size_t length)
{
    const unsigned lead = length ? bytes[0] : 0;
    if (lead < 0x80) {
        return length ? 1 : 0;
    }
    if (lead < 0xC2 || lead > 0xF4) {
        return -1;
    }
    const int wanted = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    /* The second byte rules out longer forms than needed, surrogates and what lies above U+10FFFF. */
    unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (int i = 1; i < wanted; i++) {
        if ((size_t)i == length) {
            return 0;
        }
        if (bytes[i] < low || bytes[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xBF;
    }
    return wanted;
}

/* The code point of a character of size bytes that utf8_scan accepted. */
static inline uint32_t
utf8_decode(const unsigned char *bytes, int size)
{
    uint32_t point = size == 1 ? bytes[0] : bytes[0] & (0xFFu >> (size + 1));
    for (int i = 1; i < size; i++) {
        point = point << 6 | (bytes[i] & 0x3Fu);
    }
    return point;
}

/* Writes point in size bytes, the size it needs. */
static inline void
utf8_encode(uint32_t point, int size, unsigned char *bytes)
{
    static const unsigned char lead[5] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    for (int i = size - 1; i > 0; i--) {
        bytes[i] = (unsigned char)(0x80 | (point & 0x3F));
        point >>= 6;
    }
    bytes[0] = (unsigned char)(lead[size] | point);
}

#endif
