/* SPDX-License-Identifier: BSD-3-Clause */
/* test_errormsg.c -- one sentence per thread, cut when too long */
#include "errormsg.h"

#include <pthread.h>
#include <string.h>

#include "tap.h"

static void at_first(void)
{
	CHECK(errormsg() && !strcmp(errormsg(), ""));
}

static int fails(void)
{
	return dax_error(-5, "page %d of %s", 7, "x");
}

static void formats(void)
{
	EQ(fails(), -5);
	CHECK(!strcmp(errormsg(), "page 7 of x"));
	set_errormsg("%s", "%d is not expanded");
	CHECK(!strcmp(errormsg(), "%d is not expanded"));
}

static void long_ones_are_cut(void)
{
	char text[5000];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	set_errormsg("%s", text);
	CHECK(strlen(errormsg()) >= 200 && strlen(errormsg()) < 300);
	CHECK(!strncmp(errormsg(), text, strlen(errormsg())));
	set_errormsg("short");
	CHECK(!strcmp(errormsg(), "short"));
}

static void *other_thread(void *arg)
{
	MUST(!strcmp(errormsg(), ""));
	set_errormsg("other");
	MUST(!strcmp(errormsg(), "other"));
	return arg;
}

static void per_thread(void)
{
	pthread_t thread;

	set_errormsg("mine");
	MUST(!pthread_create(&thread, NULL, other_thread, NULL));
	pthread_join(thread, NULL);
	CHECK(!strcmp(errormsg(), "mine"));
}

int main(void)
{
	plan(4);
	run("empty at first", at_first);
	run("formatted, and the code is passed through", formats);
	run("cut when too long", long_ones_are_cut);
	run("each thread has its own", per_thread);
	return done();
}
