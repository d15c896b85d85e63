/* token_table.c - names and bytes of all tokens, and the search by name. */
#include "core/model/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/utf8.h"

/* The byte alphabet of GPT-2: printable bytes stand for themselves, the 68 others for U+0100 and up in their order. */
#define SHIFTED_FIRST 0x100u
#define SHIFTED_N 68u

static bool
byte_is_plain(uint32_t byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

size_t
byte_alphabet_letter(unsigned char byte, char letter[2])
{
    uint32_t point = byte;
    if (!byte_is_plain(byte)) {
        point = SHIFTED_FIRST + (byte <= 32 ? byte : byte <= 160 ? byte - 94u : SHIFTED_N - 1);
    }
    const int size = point < 0x80 ? 1 : 2;
    utf8_encode(point, size, (unsigned char *)letter);
    return (size_t)size;
}

/* The byte that a letter stands for; -1: not a letter of the alphabet */
static int
alphabet_byte(uint32_t point)
{
    if (byte_is_plain(point)) {
        return (int)point;
    }
    if (point < SHIFTED_FIRST || point >= SHIFTED_FIRST + SHIFTED_N) {
        return -1;
    }
    const uint32_t shifted = point - SHIFTED_FIRST;
    return (int)(shifted <= 32 ? shifted : shifted <= 66 ? shifted + 94 : 173);
}

bool
byte_alphabet_decode(const char *name, size_t length, char *bytes, size_t *ret_length)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < length;) {
        const unsigned char *at = (const unsigned char *)name + i;
        const int size = utf8_scan(at, length - i);
        const int byte = size > 0 ? alphabet_byte(utf8_decode(at, size)) : -1;
        if (byte < 0) {
            return false;
        }
        bytes[n_bytes++] = (char)byte;
        i += (size_t)size;
    }
    *ret_length = n_bytes;
    return true;
}

/* FNV-1a with a final mix, as the low bits choose the slot */
static uint32_t
name_hash(const char *name, size_t length)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001B3);
    }
    return (uint32_t)(hash ^ hash >> 32);
}

int
token_table_init(struct token_table *table, uint32_t n_tokens, struct hearth_error *err)
{
    uint32_t n_slots = 16;
    while (n_slots < 2 * (uint64_t)n_tokens) {
        n_slots *= 2;
    }
    table->tokens = malloc(((size_t)n_tokens + 1) * sizeof *table->tokens);
    table->slots = malloc((size_t)n_slots * sizeof *table->slots);
    if (!table->tokens || !table->slots) {
        return error_no_memory(err, "the vocabulary");
    }
    for (uint32_t id = 0; id < n_tokens; id++) {
        table->tokens[id].name = TOKEN_ABSENT;
    }
    memset(table->slots, 0xFF, (size_t)n_slots * sizeof *table->slots);
    table->n_tokens = n_tokens;
    table->slot_mask = n_slots - 1;
    return HEARTH_OK;
}

void
token_table_done(struct token_table *table)
{
    free(table->tokens);
    free(table->slots);
    text_free(&table->arena);
}

int
token_table_add(struct token_table *table, uint32_t id, const char *name, size_t length, bool verbatim,
                struct hearth_error *err)
{
    struct text *arena = &table->arena;
    const size_t name_start = arena->length;
    text_append(arena, name, length);
    const size_t bytes_start = arena->length;
    size_t bytes_length = length;
    text_append(arena, name, length);
    if (arena->failed || arena->length >= TOKEN_ABSENT) {
        return error_no_memory(err, "the vocabulary");
    }
    if (!verbatim && byte_alphabet_decode(name, length, arena->bytes + bytes_start, &bytes_length)) {
        arena->length = bytes_start + bytes_length;
    } else {
        bytes_length = length;
        memcpy(arena->bytes + bytes_start, name, length); /* the decoding may have begun */
    }
    table->tokens[id] = (struct token){
        .name = (uint32_t)name_start,
        .name_length = (uint32_t)length,
        .bytes = (uint32_t)bytes_start,
        .bytes_length = (uint32_t)bytes_length,
    };
    uint32_t slot = name_hash(name, length) & table->slot_mask;
    while (table->slots[slot] >= 0) {
        slot = (slot + 1) & table->slot_mask;
    }
    table->slots[slot] = (int32_t)id;
    return HEARTH_OK;
}

int32_t
token_table_find(const struct token_table *table, const char *name, size_t length)
{
    uint32_t slot = name_hash(name, length) & table->slot_mask;
    for (; table->slots[slot] >= 0; slot = (slot + 1) & table->slot_mask) {
        const struct token *token = &table->tokens[table->slots[slot]];
        if (token->name_length == length && memcmp(table->arena.bytes + token->name, name, length) == 0) {
            return table->slots[slot];
        }
    }
    return -1;
}

const char *
token_table_name(const struct token_table *table, uint32_t id, size_t *ret_length)
{
    *ret_length = table->tokens[id].name_length;
    return table->arena.bytes + table->tokens[id].name;
}
