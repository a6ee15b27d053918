"""A small Llama that learns to count, trained by Hugging Face's Trainer. Run: python examples/huggingface_trainer.py"""

import tempfile

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from adamas.torch import AdamW

torch.manual_seed(0)
starts = torch.randint(0, 32, (512, 1))
rows = (starts + torch.arange(16)) % 32
data = [{"input_ids": row, "labels": row} for row in rows]

sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes))
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model,
        TrainingArguments(
            folder,
            max_steps=100,
            per_device_train_batch_size=16,
            weight_decay=0.01,  # of matrices; biases and norms have none
            warmup_steps=10,
            lr_scheduler_type="cosine",
            logging_steps=10,
            report_to="none",
        ),
        train_dataset=data,
        optimizer_cls_and_kwargs=(AdamW, {"lr": 1e-2, "betas": (0.9, 0.95)}),
    )
    trainer.train()
for entry in trainer.state.log_history[:-1]:
    print(f"step {entry['step']}: loss {float(entry['loss']):.4f}")
