"""Tensors of all replicas: what each sees, and where gradients go."""

import programs

GATHER = """
    import sys, numpy as np, tensorflow as tf
    from bigearthnet_tf import console
    console.load_tensorflow()
    cpu = tf.config.list_physical_devices("CPU")[0]
    count = 3
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * count
    )
    from bigearthnet_tf.tasks import gathering

    strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(count)])
    whole = np.arange(12, dtype=np.float32).reshape(6, 2) / 7
    weights = np.arange(36, dtype=np.float32).reshape(6, 6) / 5

    def step(part):
        with tf.GradientTape() as tape:
            tape.watch(part)
            found = gathering.gather(part)
            own = tf.gather(weights, found.offset + tf.range(2))
            # Each replica has its own rows of the sum of w_ij x_i.x_j.
            loss = tf.reduce_sum(own * (found.own @ tf.transpose(found.whole)))
        return found.whole, tape.gradient(loss, part)

    @tf.function
    def run():
        data = strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(whole[2 * c.replica_id_in_sync_group :][:2])
        )
        return strategy.run(step, args=(data,))

    seen, gradients = run()
    for each in strategy.experimental_local_results(seen):
        np.testing.assert_array_equal(each, whole)
    gradient = np.concatenate(strategy.experimental_local_results(gradients))
    expected = (weights + weights.T).astype(np.float64) @ whole
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    print("done")
"""


def test_every_replica_sees_all_and_gradients_come_back_from_all():
    assert programs.run_program(GATHER).endswith("done")
