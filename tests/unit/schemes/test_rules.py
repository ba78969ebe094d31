"""Rules: what patterns match, which rule wins, and what is said of those that match nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paramcli
from paramcli.errors import PatternError, UsageError
from paramcli.schemes.recipes import Rule
from paramcli.schemes.roles import subjects
from paramcli.schemes.rules import assign, generic, parse_rule, written

LENET, GPT, NETWORK = (
    f"sample_models.{name}" for name in ("lenet:LeNet", "tiny_gpt:TinyGPT", "network:Network")
)


def won(target: str, *rules: str, wrap: str = "") -> dict[str, str]:
    """Which rule wins each tensor of a sample model that any matches."""
    found = subjects(paramcli.open(target)).values()
    named = {one.name: one._replace(name=wrap + one.name) for one in found}
    parsed = [Rule("*", "rest"), *map(parse_rule, rules)]
    result = assign(parsed, named.values(), {}, parsed[1:])
    return {
        name.removeprefix(wrap): written(rule)
        for name, rule in result.items()
        if rule.scheme != "rest"
    }


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "match", "scheme"),
    [
        ("*.bias=zeros", "*.bias", "zeros"),
        ("fc=normal(std=0.02)", "fc", "normal(std=0.02)"),
        ("/a=b/=normal(mean=0, std=1)", "/a=b/", "normal(mean=0, std=1)"),
        ("/(?=x)y/=ones", "/(?=x)y/", "ones"),
        ("/a/=b/=zeros", "/a/=b/", "zeros"),
        ("a=b=zeros", "a=b", "zeros"),
        ("@norm_weight= ones ", "@norm_weight", "ones"),
        ("nn.Conv2d.*=torch", "nn.Conv2d.*", "torch"),
    ],
)
def test_read(text: str, match: str, scheme: str) -> None:
    assert parse_rule(text) == Rule(match, scheme)


@given(
    st.text("abc.*=", min_size=1).filter(lambda text: not text.startswith("=")),
    st.sampled_from(["zeros", "normal(std=0.02)", "kaiming_normal(mode=fan_out, a=0.1)"]),
)
def test_what_is_written_reads_the_same(match: str, scheme: str) -> None:
    """A pattern may hold `=`, unless what follows would be a scheme."""
    rule = parse_rule(f"{match}={scheme}")
    assert written(rule) == f"{match}={scheme}"
    assert parse_rule(written(rule)) == rule


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("zeros", "PATTERN=SCHEME", 5),
        ("=zeros", "no pattern", 0),
        ("fc=", "no scheme", 2),
        ("fc=3", "no scheme", 2),
        ("/fc=zeros", "no closing /", 9),
        ("/fc/=(", "no scheme", 4),
        ("fc[=zeros", "never closed", 2),
        ("/(/=zeros", "regular expression", 1),
    ],
)
def test_malformed(text: str, message: str, position: int) -> None:
    with pytest.raises(PatternError, match=message) as caught:
        parse_rule(text)
    assert caught.value.position == position


# --- matching ------------------------------------------------------------------------------------


def test_last_match_wins() -> None:
    found = won(LENET, "fc=a", "*.bias=b", "fc.4.bias=c")
    assert found["fc.4.weight"] == "fc=a"
    assert found["fc.0.bias"] == "*.bias=b"
    assert found["fc.4.bias"] == "fc.4.bias=c"
    assert "conv.0.weight" not in found


def test_types_of_modules() -> None:
    assert won(LENET, "nn.Conv2d=a") == dict.fromkeys(
        ["conv.0.weight", "conv.3.weight"], "nn.Conv2d=a"
    )
    assert set(won(LENET, "nn.Linear.bias=a")) == {"fc.0.bias", "fc.2.bias", "fc.4.bias"}
    assert set(won(NETWORK, "torch.nn.BatchNorm2d.*=a")) == {
        "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked",
    }  # fmt: skip
    assert set(won(NETWORK, "nn._BatchNorm=a")) == {"bn.weight"}  # what it derives from


def test_roles() -> None:
    found = won(GPT, "@embedding=a", "@position=b", "@buffer=c", "@norm_bias=d")
    assert found["embed.weight"] == "@embedding=a"
    assert found["pos.weight"] == "@position=b"
    assert found["mask"] == "@buffer=c"
    assert found["ln_f.bias"] == "@norm_bias=d"
    assert "blocks.0.attn.qkv.weight" not in found


@pytest.mark.parametrize("wrap", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_are_seen_through(wrap: str) -> None:
    """A rule for the model is one for the model in DistributedDataParallel or torch.compile."""
    assert won(LENET, "fc.*.bias=a", wrap=wrap) == won(LENET, "fc.*.bias=a")
    assert won(LENET, f"{wrap}fc.0=a", wrap=wrap) == dict.fromkeys(
        ("fc.0.weight", "fc.0.bias"), f"{wrap}fc.0=a"
    )


def test_wrappers_inside() -> None:
    one = next(iter(subjects(paramcli.open(LENET)).values()))
    inner = one._replace(name="blocks.0._checkpoint_wrapped_module.fc.weight")
    rule = parse_rule("blocks.0.fc=a")
    assert assign([rule], [inner], {}) == {inner.name: rule}


def test_tied_names_match_too() -> None:
    one = subjects(paramcli.open(GPT))["embed.weight"]
    rule = parse_rule("lm_head=a")
    assert assign([rule], [one], {one.name: ["lm_head.weight"]}) == {one.name: rule}


def test_generic() -> None:
    assert [generic(Rule(match, "a")) for match in ("@bias", "nn.Linear", "fc", "*", "nnx.a")] == [
        True, True, False, False, False,
    ]  # fmt: skip


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("conv.9=a", "conv"),
        ("fc.0.wieght=a", "fc.0.weight"),
        ("@scale=a", "there are @weight, @bias"),
        ("nn.Conv3d=a", "there are nn.Conv2d, nn.Linear"),
        ("zzzzzzzz=a", "paramcli list"),
    ],
)
def test_a_rule_that_matches_nothing(rule: str, hint: str) -> None:
    with pytest.raises(UsageError, match="matches no tensor") as caught:
        won(LENET, rule)
    assert hint in str(caught.value.hint)


def test_an_unknown_role() -> None:
    with pytest.raises(UsageError, match="no role is called 'biass'") as caught:
        parse_rule("@biass=a")
    assert caught.value.hint == "did you mean @bias?"
    with pytest.raises(UsageError, match="no role") as caught:
        parse_rule("@qqq=a")
    assert "@running_var" in str(caught.value.hint)


def test_a_tensor_that_nothing_matches() -> None:
    found = list(subjects(paramcli.open(LENET)).values())
    with pytest.raises(UsageError, match=r"no rule matches 8 tensors: conv\.0\.bias") as caught:
        assign([parse_rule("conv.*.weight=a")], found, {})
    assert "--rule 'conv.0.bias=zeros'" in str(caught.value.hint)
    with pytest.raises(UsageError, match=r"no rule matches 1 tensor: fc\.4\.bias"):
        assign([parse_rule("/^(?!fc.4.bias)/=a")], found, {})
