/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "display/keys.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"

static const struct { const char *name; uint8_t code; uint16_t keysym; } named[] = {
	{ "esc", 1, 0xff1b }, { "escape", 1, 0 }, { "backspace", 14, 0xff08 }, { "tab", 15, 0xff09 }, { "tab", 15, 0xfe20 },
	{ "enter", 28, 0xff0d }, { "return", 28, 0 }, { "ctrl", 29, 0xffe3 }, { "control", 29, 0 }, { "shift", 42, 0xffe1 },
	{ "right-shift", 54, 0xffe2 }, { "kp-multiply", 55, 0xffaa }, { "alt", 56, 0xffe9 }, { "alt", 56, 0xffe7 }, { "space", 57, 0 },
	{ "caps-lock", 58, 0xffe5 },
	{ "f1", 59, 0xffbe }, { "f2", 60, 0xffbf }, { "f3", 61, 0xffc0 }, { "f4", 62, 0xffc1 }, { "f5", 63, 0xffc2 },
	{ "f6", 64, 0xffc3 }, { "f7", 65, 0xffc4 }, { "f8", 66, 0xffc5 }, { "f9", 67, 0xffc6 }, { "f10", 68, 0xffc7 },
	{ "f11", 87, 0xffc8 }, { "f12", 88, 0xffc9 }, { "num-lock", 69, 0xff7f }, { "scroll-lock", 70, 0xff14 },
	{ "kp-7", 71, 0xffb7 }, { "kp-8", 72, 0xffb8 }, { "kp-9", 73, 0xffb9 }, { "kp-minus", 74, 0xffad },
	{ "kp-4", 75, 0xffb4 }, { "kp-5", 76, 0xffb5 }, { "kp-6", 77, 0xffb6 }, { "kp-plus", 78, 0xffab },
	{ "kp-1", 79, 0xffb1 }, { "kp-2", 80, 0xffb2 }, { "kp-3", 81, 0xffb3 }, { "kp-0", 82, 0xffb0 }, { "kp-dot", 83, 0xffae },
	{ "kp-7", 71, 0xff95 }, { "kp-8", 72, 0xff97 }, { "kp-9", 73, 0xff9a }, { "kp-4", 75, 0xff96 }, { "kp-5", 76, 0xff9d },
	{ "kp-6", 77, 0xff98 }, { "kp-1", 79, 0xff9c }, { "kp-2", 80, 0xff99 }, { "kp-3", 81, 0xff9b }, { "kp-0", 82, 0xff9e },
	{ "kp-dot", 83, 0xff9f }, { "less", 86, 0 }, { "kp-enter", 96, 0xff8d }, { "right-ctrl", 97, 0xffe4 },
	{ "kp-divide", 98, 0xffaf }, { "print", 99, 0xff61 }, { "sysrq", 99, 0xff15 }, { "right-alt", 100, 0xffea },
	{ "right-alt", 100, 0xfe03 }, { "home", 102, 0xff50 }, { "up", 103, 0xff52 }, { "page-up", 104, 0xff55 },
	{ "left", 105, 0xff51 }, { "right", 106, 0xff53 }, { "end", 107, 0xff57 }, { "down", 108, 0xff54 },
	{ "page-down", 109, 0xff56 }, { "insert", 110, 0xff63 }, { "delete", 111, 0xffff }, { "del", 111, 0 },
	{ "pause", 119, 0xff13 }, { "meta", 125, 0xffeb }, { "win", 125, 0 }, { "right-meta", 126, 0xffec }, { "menu", 127, 0xff67 },
	{ "minus", 12, 0 }, { "equal", 13, 0 }, { "comma", 51, 0 }, { "dot", 52, 0 }, { "slash", 53, 0 },
};

/* Rows of the keyboard: the first character's code, the characters, and those with Shift. */
static const struct { uint8_t first; const char *plain, *shifted; } rows[] = {
	{ 2, "1234567890-=", "!@#$%^&*()_+" },
	{ 16, "qwertyuiop[]", "QWERTYUIOP{}" },
	{ 30, "asdfghjkl;'`", "ASDFGHJKL:\"~" },
	{ 43, "\\zxcvbnm,./", "|ZXCVBNM<>?" },
};

unsigned key_by_character(unsigned character, bool *shift)
{
	*shift = false;
	switch (character) {
	case '\n': case '\r': return 28;
	case '\t': return 15;
	case '\b': case 0x7f: return 14;
	case 0x1b: return 1;
	case ' ': return 57;
	}
	if (character < 0x20 || character > 0x7e)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *plain = strchr(rows[i].plain, (int)character), *shifted = strchr(rows[i].shifted, (int)character);
		*shift = !plain && shifted;
		if (plain || shifted)
			return rows[i].first + (unsigned)(plain ? plain - rows[i].plain : shifted - rows[i].shifted);
	}
	return 0;
}

unsigned key_by_name(const char *name)
{
	bool shift;
	for (unsigned i = 0; i < ARRAY_SIZE(named); i++)
		if (!strcasecmp(named[i].name, name))
			return named[i].code;
	/* A letter means its key, in either case. */
	return name[0] && !name[1] ? key_by_character((unsigned char)name[0], &shift) : 0;
}

unsigned key_by_keysym(uint32_t keysym)
{
	bool shift;
	for (unsigned i = 0; keysym && i < ARRAY_SIZE(named); i++)
		if (named[i].keysym == keysym)
			return named[i].code;
	return keysym < 0x7f ? key_by_character(keysym, &shift) : 0;
}

/* Names have dashes of their own ("page-up"), so the longest name that fits is taken each time. */
static size_t take_key(const char *text, unsigned *code)
{
	char name[16];
	for (size_t length = MIN(strlen(text), sizeof(name) - 1); length; length--) {
		if (text[length] && text[length] != '-' && text[length] != '+')
			continue;
		memcpy(name, text, length);
		name[length] = 0;
		*code = key_by_name(name);
		if (*code)
			return length;
	}
	return 0;
}

int key_chord(const char *text, unsigned codes[KEY_CHORD_MAX], struct error *err)
{
	int count = 0;
	for (const char *at = text;;) {
		if (count == KEY_CHORD_MAX)
			return error_set(err, EINVAL, "'%s': more than %d keys at once", text, KEY_CHORD_MAX);
		size_t length = take_key(at, &codes[count]);
		if (!length)
			return error_set(err, EINVAL, "'%s': no key is called '%s'; write as ctrl-alt-delete, f2, page-up, a", text, at);
		count++;
		at += length;
		if (!*at)
			return count;
		at++;
	}
}
