mod segments_oracle;
