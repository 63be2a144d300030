"""Optional features and their extras."""

from services.features import Feature, states


def test_a_configured_feature_without_its_extra_says_what_to_install():
    feature = Feature(name="milvus", wanted=True, module="no_such_module_anywhere", extra="milvus")

    assert feature.state == "not installed"
    assert feature.advice.endswith("pip install '.[milvus]'")


def test_a_module_below_a_package_that_is_missing_is_missing():
    assert Feature(name="x", wanted=True, module="no_such_package.no_such_module").missing


def test_what_is_not_wanted_need_not_be_installed():
    assert not Feature(name="milvus", wanted=False, module="no_such_module_anywhere").missing


def test_states_are_words():
    features = [
        Feature(name="a", wanted=True),
        Feature(name="b", wanted=False),
        Feature(name="c", wanted=True, module="json"),
    ]

    assert states(features) == {"a": "on", "b": "off", "c": "on"}
