"""`bigearthnet-tf models`."""


def test_lists_and_summaries(call):
    assert call("bigearthnet-tf", "models", "resnet50*").out.split() == [
        "resnet50",
        "resnet50_slim",
    ]
    result = call("bigearthnet-tf", "models", "--summary", "ShortCNN_RGB")
    assert result.status == 0, result.err
    assert "1,140,979 of them trainable" in result.out
    assert "3: B04 B03 B02" in result.out
    result = call("bigearthnet-tf", "models", "--summary", "resnet_tset")
    assert result.status == 1
    assert "did you mean 'resnet_test'" in result.complaint
    result = call("bigearthnet-tf", "models", "nothing*")
    assert result.status == 1
    assert "no model is called" in result.complaint
