/* SPDX-License-Identifier: BSD-3-Clause */
/* test_persist_record.c -- a medium that writes down what happens to it */
#include <pthread.h>

#include "fixture.h"
#include "oom.h"

static struct dax_device *recorded(void)
{
	struct dax_device *dev = NULL;

	MUST(!dax_device_record(&dev, 4 * DAX_PAGE_SIZE));
	return dev;
}

static struct dax_record row_of(struct dax_device *dev, uint64_t i)
{
	struct dax_record row = { 0 };

	EQ(dax_device_log(dev, i, &row, 1), 1);
	return row;
}

static void one_of_each(void)
{
	struct dax_device *dev = recorded();
	char bytes[8] = "", got[3];
	struct dax_record row;

	EQ(dax_device_log_length(dev), 0);
	EQ(dax_device_store(dev, 100, "abc", 3), 0);
	EQ(dax_device_flush(dev, 100, 3), 0);
	EQ(dax_device_fence(dev), 0);
	EQ(dax_device_store(dev, 7, "de", 2), 0);
	EQ(dax_device_log_length(dev), 4);
	row = row_of(dev, 0);
	EQ(row.kind, DAX_RECORD_STORE);
	EQ(row.offset, 100);
	EQ(row.length, 3);
	EQ(row_of(dev, 1).kind, DAX_RECORD_FLUSH);
	EQ(row_of(dev, 2).kind, DAX_RECORD_FENCE);
	EQ(row_of(dev, 3).data, 3);
	EQ(dax_device_log_data(dev, 0, bytes, sizeof(bytes)), 5);
	CHECK(!memcmp(bytes, "abcde", 5));
	EQ(dax_device_load(dev, 100, got, 3), 0);
	CHECK(!memcmp(got, "abc", 3));
	EQ(dax_device_log(dev, 4, &row, 1), 0);
	EQ(dax_device_log_reset(dev), 0);
	EQ(dax_device_log_length(dev), 0);
	dax_device_put(dev);
}

static void other_devices_have_no_log(void)
{
	struct dax_device *dev = new_device(DAX_PAGE_SIZE);
	struct dax_record row;

	EQ(dax_device_log_length(dev), -EOPNOTSUPP);
	EQ(dax_device_log(dev, 0, &row, 1), -EOPNOTSUPP);
	EQ(dax_device_log_reset(dev), -EOPNOTSUPP);
	dax_device_put(dev);
}

/* What the log lacks is said, until it is begun anew; stores go on. */
static void no_memory(void)
{
	OOM_LOOP(n) {
		struct dax_device *dev = NULL;
		int made, stored = 0;
		int64_t length;

		oom_fail_nth(n);
		made = dax_device_record(&dev, DAX_PAGE_SIZE);
		if (!made)
			stored = dax_device_store(dev, 0, "x", 1);
		oom_clear();
		if (made) {
			EQ(made, -ENOMEM);
			continue;
		}
		length = dax_device_log_length(dev);
		EQ(stored, 0);
		EQ(length, oom_fired() ? -ENOMEM : 1);
		EQ(dax_device_log_reset(dev), 0);
		EQ(dax_device_store(dev, 0, "y", 1), 0);
		EQ(dax_device_log_length(dev), 1);
		dax_device_put(dev);
		if (!oom_fired())
			break;
	}
	CHECK(oom_rounds() > 2);
}

enum { STORES = 2000 };

static void *store_often(void *arg)
{
	struct dax_device *dev = arg;
	long bad = 0;

	for (int i = 0; i < STORES; i++)
		bad += dax_device_store(dev, 64, &i, sizeof(i)) != 0;
	return (void *)bad;
}

/* One order for all threads, and it is that of the bytes on the device. */
static void two_threads(void)
{
	struct dax_device *dev = recorded();
	struct dax_record last;
	pthread_t threads[2];
	int now = -1, written = -2;
	unsigned int first = 0, second = 0;	/* numbers of the threads */

	for (int i = 0; i < 2; i++)
		MUST(!pthread_create(&threads[i], NULL, store_often, dev));
	for (int i = 0; i < 2; i++) {
		void *bad;

		MUST(!pthread_join(threads[i], &bad));
		EQ((long)bad, 0);
	}
	EQ(dax_device_log_length(dev), 2 * STORES);
	for (uint64_t i = 0; i < 2 * STORES; i++) {
		last = row_of(dev, i);
		first = first ? first : last.thread;
		if (last.thread != first)
			second = second ? second : last.thread;
		CHECK(last.thread == first || last.thread == second);
	}
	CHECK(first && second);
	EQ(dax_device_log_data(dev, last.data, &written, sizeof(written)),
	   sizeof(written));
	EQ(dax_device_load(dev, 64, &now, sizeof(now)), 0);
	EQ(now, written);
	dax_device_put(dev);
}

int main(void)
{
	plan(4);
	run("one of each", one_of_each);
	run("other devices have no log", other_devices_have_no_log);
	run("every allocation fails", no_memory);
	run("two threads", two_threads);
	return done();
}
